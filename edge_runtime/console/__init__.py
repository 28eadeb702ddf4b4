"""The local HTTP API, version 1, for the console's own software and for the one page of the unit.

A process of its own: what it reads, it reads from the spool, and what it is given goes through the
same admission as films from the network. It may be killed at any instant; nothing else stops::

    documents    what is answered, as pydantic models
    accounts     tokens and passwords: made, kept as hashes, compared; guessing is slowed down
    peers        which user is at the other end of the socket
    access       who calls, and whether they may: tokens, sessions, hosts, other sites' pages
    problems     refusals, in one form
    guard        around every request: access, limits of size and time, headers, the log
    studies      from the spool's rows to documents
    headers      what the headers of stored films say, remembered
    picture      a film as a PNG, with or without what was marked
    submit       a film from a request's body, or from a path, into the spool
    events       what changes, as server-sent events
    app          the routes
    server       the sockets, and the process
    cli          `osteoedge console`
"""
