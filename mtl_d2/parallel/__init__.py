"""All that crosses processes during updates. Knows torch.distributed, and nothing of detectron2 or of configs."""
