-- No segments: the smallest batch that a segment makes is its own, and most podcasts have a handful of hits a day. Sorted
-- by podcast instead, batches are full and each knows its first and last podcast, which is what prunes. Measured by
-- benchmarks/storage.py. Chunks that are compressed already stay as they are.
alter table ts.listener_events set (timescaledb.compress, timescaledb.compress_segmentby = '',
    timescaledb.compress_orderby = 'podcast_no, episode_no, occurred_at');
alter table ts.downloads set (timescaledb.compress, timescaledb.compress_segmentby = '',
    timescaledb.compress_orderby = 'podcast_no, episode_no, listener_key');
