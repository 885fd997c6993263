"""Training of the networks: data sets, timestep samplers, losses and one trainer per network."""
