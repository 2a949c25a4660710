"""Graph, layers, passes, emitters and the command line."""
