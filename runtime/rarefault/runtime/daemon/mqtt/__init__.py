"""The broker: connection, session across connections, and the inbox that bounds what is received."""
