"""The web page: what the daemon has in its journal, for people in a browser.

It is a process of its own, ``rarefault page``, that only reads: a crash or a slow browser never touches the daemon. It
imports the runtime and nothing of the trainer or exporter, and needs the extra ``[page]``.

``journal``
    reads the journal: the fleet as it is now, kept in memory, and ranges of the past;
``web``
    serves it: routes and the form of their answers, and what keeps others out;
``static``
    what runs in the browser: plain modules, no build step, nothing from other hosts.
"""
