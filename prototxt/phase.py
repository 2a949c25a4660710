"""Stand-in."""
def filter_net(message, state):
    return [i for i,l in enumerate(message.layer) if all(r.phase == state.phase for r in l.include)]
