"""An embedded W&B server for one machine: `with Server() as server`."""
