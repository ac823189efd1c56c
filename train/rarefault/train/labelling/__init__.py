"""From a journal, a fault log and people's answers to labels: ``rarefault label``."""
