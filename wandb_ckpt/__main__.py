"""`python -m wandb_ckpt` is the `wandb-ckpt` command."""

from wandb_ckpt.cli import main

main(prog_name="wandb-ckpt")
