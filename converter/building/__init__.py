"""From a parsed net and its weights to a graph."""
