"""How the names of some scalars of a training begin."""

# Epochs of a data set; of a pair of tasks, a share of updates and of samples.
EPOCHS, IN_UPDATES, IN_SAMPLES = "epochs/", "pairs/", "pairs_of_samples/"
