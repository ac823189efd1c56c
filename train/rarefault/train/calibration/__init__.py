"""From probabilities to decisions: cross-fitting, pooling, temperature, prediction sets, thresholds, alarm timing."""
