"""Read what is on W&B, for the command line: lists, comparisons, plots, and the versions to delete."""
