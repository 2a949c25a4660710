"""A run over a data set: planned, done here or on Ray, kept in a journal."""
