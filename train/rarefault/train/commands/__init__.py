"""The commands of the workstation."""
