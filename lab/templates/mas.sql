-- A little of what a MAS database holds, so that a dump of it has a content to compare.
CREATE TABLE users (
    user_id uuid PRIMARY KEY,
    username text NOT NULL UNIQUE,
    created_at timestamptz NOT NULL,
    locked_at timestamptz,
    can_request_admin boolean NOT NULL DEFAULT false
);
CREATE TABLE user_emails (
    user_email_id uuid PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES users,
    email text NOT NULL,
    created_at timestamptz NOT NULL
);
INSERT INTO users VALUES ('018f3f6e-0000-7000-8000-000000000001', 'matt', '2025-11-02 09:00:00+00', NULL, true);
INSERT INTO user_emails VALUES ('018f3f6e-0000-7000-8000-000000000002', '018f3f6e-0000-7000-8000-000000000001', 'matt@echo6.co', '2025-11-02 09:00:00+00');
