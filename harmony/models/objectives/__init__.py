"""What the latent must know of the observations."""
