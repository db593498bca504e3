-- How a collection's documents are cut. `chunker` stays the stamp, which changes whenever equal text may give other
-- chunks. Collections from before were all cut along their structure, and table headings were not repeated.
ALTER TABLE collections ADD COLUMN chunker_options jsonb NOT NULL
    DEFAULT '{"strategy": "structure", "tokens": 160, "table_header": false, "parent_tokens": 640}';
ALTER TABLE collections ALTER COLUMN chunker_options DROP DEFAULT;
UPDATE collections SET chunker = 'structure-2:tokens=160,table_header=false,parent_tokens=640' WHERE chunker = 'structure-1';

-- `context` is embedded before the passage without being part of it, such as the header of the table that it is of.
-- `parent_start` and `parent_end` bound the section that the passage stands in, as offsets of the document's text.
ALTER TABLE chunks
    ADD COLUMN context text NOT NULL DEFAULT '',
    ADD COLUMN parent_start int,
    ADD COLUMN parent_end int;
