"""Converting a whole zoo: its manifest, a process a net, what became of each, and the page that sums them up."""
