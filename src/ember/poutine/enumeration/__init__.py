"""Sites that take all their values at once: their dims, their symbols, and what markov sees."""
