"""What lies on W&B, for the command line: lists, comparisons, curves, and what a deletion would delete."""
