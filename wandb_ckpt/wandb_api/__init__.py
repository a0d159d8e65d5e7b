"""Everything that is asked of wandb: no other package imports it."""
