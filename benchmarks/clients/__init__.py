"""Libraries written for Pyro, as they are published, on Ember: what runs, in what time, with which losses."""
