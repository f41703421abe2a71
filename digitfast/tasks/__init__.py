"What does a user ask for? One module for each task: train, predict, compare, save, demo and the rest."
