"""The demo: everything on one machine, with an embedded broker, ending in a comparison of live and offline verdicts."""
