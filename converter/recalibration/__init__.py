"""BatchNorm's statistics, computed anew over images."""
