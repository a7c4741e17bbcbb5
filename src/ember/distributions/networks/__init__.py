"""Small networks from which flows take their parameters; ``ember.nn`` hands them out."""
