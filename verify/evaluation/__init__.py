"""Top-1 and top-5 errors of a model on a data set, beside those that were published."""
