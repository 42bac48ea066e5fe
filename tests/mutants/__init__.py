"""Small deliberate faults in the engine, each of which the suite must catch: ``make mutants``."""
