"""The GraphQL API that the wandb client uses."""
