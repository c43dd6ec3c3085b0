"""What several machines cost: a model of steps and passes, and the measurements it is held to."""
