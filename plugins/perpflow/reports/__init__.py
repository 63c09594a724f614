"""Reports that people want to read: a page for each UTC day, a list of them, and what failed in the gate."""
