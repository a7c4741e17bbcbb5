"""Commands for who works on Ember itself."""
