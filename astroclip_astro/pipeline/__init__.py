"""Records to embeddings: ahead of the network, part by part, in several processes, resumably."""
