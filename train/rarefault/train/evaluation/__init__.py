"""Scores of verdicts and alarms on blocks that training did not see."""
