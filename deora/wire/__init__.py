"""How the processes talk: frames on one Unix socketpair for each child, in a star around the supervisor.

`frames` is the codec, pure. `link` moves frames over a socket: `Link` on an event loop, `BlockingLink` for the store,
whose socket is its queue while a commit syncs.
"""
