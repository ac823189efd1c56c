"""Recording: messages as they came, in files of lines of JSON, for a model that is made later."""
