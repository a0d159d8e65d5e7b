"""Everything that uses wandb. No other package imports it."""
