-- What the words of a collection's passages were encoded with. Until now that was recorded nowhere; all were encoded as
-- English, and are made anew by `python -m ingest reembed`.
ALTER TABLE collections ADD COLUMN lexical text NOT NULL DEFAULT 'english-1';
ALTER TABLE collections ALTER COLUMN lexical DROP DEFAULT;
ALTER TABLE document_drafts ADD COLUMN lexical text NOT NULL DEFAULT 'english-1';
ALTER TABLE document_drafts ALTER COLUMN lexical DROP DEFAULT;
ALTER TABLE rebuilds ADD COLUMN lexical text;
