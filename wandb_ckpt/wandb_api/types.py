"""wandb's own types, for annotations: no module outside this package imports wandb."""

from wandb import Api, Artifact, Run
from wandb.apis.public import Run as PublicRun

__all__ = ["Api", "Artifact", "PublicRun", "Run"]
