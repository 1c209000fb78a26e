-- Nothing is to be done here: TimescaleDB makes chunks itself, and rows reach them through the hypertable alone.
select null;
