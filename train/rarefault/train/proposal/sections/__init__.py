"""The sections of a proposal: samples with their times, machines and labels, the log of events, the channels."""
