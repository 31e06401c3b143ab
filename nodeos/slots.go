package nodeos

// MaxInChans is how many in-channels of a node may stand on links at a time.
const MaxInChans = 1 << 14
