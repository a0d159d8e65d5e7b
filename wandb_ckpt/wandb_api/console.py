"""Lines in the terminal, in wandb's own style."""

import wandb


def say(line: str, *, warn: bool = False) -> None:
    """Print a line the way wandb prints its own."""
    (wandb.termwarn if warn else wandb.termlog)(f"wandb_ckpt: {line}")
