"""Numbers in, numbers out: intervals, bootstrap, exact tests, one logistic regression."""
