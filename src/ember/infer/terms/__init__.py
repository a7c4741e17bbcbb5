"""What an objective is made of: how a site's entropy and score are estimated, baselines, weights of particles."""
