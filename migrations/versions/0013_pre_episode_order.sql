-- Episodes as they are listed, newest first: read from an index, however many a podcast has.

create index episodes_newest on app.episodes (podcast_id, coalesce(published_at, first_seen_at), episode_id);
