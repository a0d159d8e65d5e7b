"""HTTP for the wandb client: who may ask, request bodies, uploads, downloads and the stream of a run."""
