"""Federation with the real parts: the published server, the npm registry, chains of instances, network namespaces."""
