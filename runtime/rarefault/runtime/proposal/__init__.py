"""Proposals of a configuration: findings with their evidence, as a commented file and as questions in a terminal."""
