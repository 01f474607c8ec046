"""The exact gradient of each task: how a batch crosses the network, and what is asked of the rows."""
