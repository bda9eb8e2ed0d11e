BEGIN TRANSACTION;
CREATE TABLE "_sqlite_migrations" (
   "id" INTEGER PRIMARY KEY,
   "migration_set" TEXT,
   "name" TEXT,
   "applied_at" TEXT
);
INSERT INTO "_sqlite_migrations" VALUES(1,'ttsd','m001_initial','2026-11-24 18:55:13.273815+00:00');
INSERT INTO "_sqlite_migrations" VALUES(2,'ttsd','m002_reading','2026-11-24 18:55:13.274376+00:00');
INSERT INTO "_sqlite_migrations" VALUES(3,'ttsd','m003_roles','2026-11-24 18:55:13.274749+00:00');
CREATE TABLE "attempts" (
   "run" INTEGER REFERENCES "runs"("run"),
   "attempt" INTEGER,
   "step" INTEGER,
   "adapter_version" INTEGER,
   "verdict" TEXT,
   "discovered" INTEGER,
   "visible_passed" INTEGER,
   "visible_total" INTEGER,
   "hidden_passed" INTEGER,
   "hidden_total" INTEGER,
   "first_failure" INTEGER,
   "feedback" TEXT,
   "program" TEXT,
   "program_hash" TEXT,
   "completion" TEXT,
   "token_ids" BLOB,
   "logprobs" BLOB,
   "finish_reason" TEXT,
   "prompt_tokens" INTEGER,
   "completion_tokens" INTEGER,
   "mean_logprob" REAL,
   "min_logprob" REAL,
   "sample_seconds" REAL,
   "judge_seconds" REAL,
   "cpu_seconds" REAL,
   "created" TEXT, "role" TEXT NOT NULL DEFAULT 'student',
   PRIMARY KEY ("run", "attempt")
);
INSERT INTO "attempts" VALUES(1,1,1,0,'wrong_answer',0,1,5,0,0,0,'Wrong Answer
Input:
lime
9
Output:
9
Expected:
4

Wrong Answer
Input:
bee
4
Output:
8
Expected:
12','name = input()
n = int(input())
if name == "white":
    print(n - 5)
elif name == "brown":
    print(n ** 3)
elif name == "lime":
    print(n % 10)
elif name == "green":
    print(n + 1)
elif name == "bee":
    print(n * 2)
','c9d768657ade3b75','```python
name = input()
n = int(input())
if name == "white":
    print(n - 5)
elif name == "brown":
    print(n ** 3)
elif name == "lime":
    print(n % 10)
elif name == "green":
    print(n + 1)
elif name == "bee":
    print(n * 2)
```',X'3B020000440200005901000045020000590200004602000048010000450200006E0200004602000039010000450200008A0200004602000055010000450200004B0200004602000042010000450200005B0200000D0000003702000002000000',X'000000C0FEFFC1BE00000080FDFFC8BE00000020ED5F01BF00000060FFFFB1BE000000C0A72803C0000000A0FEFFB9BE000000E0F4BFEABE00000080FFFF9FBE000000C00D08F4BF000000C0FFFF97BE000000E0F0FFF5BE00000080FFFFA7BE000000806D3C02C000000000FFFFB5BE00000060ED5FF8BE000000A0FFFFA3BE00000080E075EFBF00000080F33FECBE00000060B8EF17BF00000080FEFFBBBE000000A089DAEBBF00000020FBFFD8BE00000060FDFFC9BE000000C0FB7FE0BE','stop',24,24,-3.24171421201588316751e-01,-2.39485120773315429687e+00,0.358542500999647,8.47984279998854617588e-02,0.005954,'2026-11-24T18:56:22.590+00:00','student');
INSERT INTO "attempts" VALUES(1,2,1,0,'wrong_answer',0,1,5,0,0,1,'Wrong Answer
Input:
lime
9
Output:
0
Expected:
4

Wrong Answer
Input:
bee
4
Output:
8
Expected:
12','name = input()
n = int(input())
if name == "white":
    print(n - 1)
elif name == "brown":
    print(n * n)
elif name == "lime":
    print(n % 3)
elif name == "green":
    print(n + 1)
elif name == "bee":
    print(n * 2)
','0b3b47db4fab3101','```python
name = input()
n = int(input())
if name == "white":
    print(n - 1)
elif name == "brown":
    print(n * n)
elif name == "lime":
    print(n % 3)
elif name == "green":
    print(n + 1)
elif name == "bee":
    print(n * 2)
```',X'3B020000440200005901000045020000560200004602000048010000450200006A020000460200003901000045020000870200004602000055010000450200004B0200004602000042010000450200005B0200000D0000003702000002000000',X'000000C0FEFFC1BE00000080FDFFC8BE00000020ED5F01BF00000060FFFFB1BE000000C080FBECBF00000040FFFFB3BE00000080F33FECBE00000080FFFF9FBE000000604E64ECBF00000000FEFFBFBE00000040EC1FF9BE000000A0FFFFA3BE0000000039E3EDBF00000040FFFFB3BE00000080ECFFF8BE000000A0FFFFA3BE000000A0A0F2EFBF00000000F35FF4BE000000E0CD0714BF00000000FEFFBFBE000000A0D53FEDBF000000E0F7BFE6BE00000020FEFFC5BE00000060FAFFE2BE','stop',24,24,-1.93315389070908366653e-01,-9.98367607593536376953e-01,3.59111835000476276036e-01,1.17971227999987604562e-01,6.34599999999999921096e-03,'2026-11-24T18:56:22.624+00:00','student');
INSERT INTO "attempts" VALUES(1,3,1,0,'wrong_answer',0,1,5,0,0,0,'Wrong Answer
Input:
lime
9
Output:
1
Expected:
4

Wrong Answer
Input:
bee
4
Output:
8
Expected:
12','name = input()
n = int(input())
if name == "white":
    print(n // 2)
elif name == "brown":
    print(n ** 3)
elif name == "lime":
    print(n % 4)
elif name == "green":
    print(n + 1)
elif name == "bee":
    print(n * 2)
','cb540ece296c8e74','```python
name = input()
n = int(input())
if name == "white":
    print(n // 2)
elif name == "brown":
    print(n ** 3)
elif name == "lime":
    print(n % 4)
elif name == "green":
    print(n + 1)
elif name == "bee":
    print(n * 2)
```',X'3B020000440200005901000045020000580200004602000048010000450200006E020000460200003901000045020000880200004602000055010000450200004B0200004602000042010000450200005B0200000D0000003702000002000000',X'000000C0FEFFC1BE00000080FDFFC8BE00000020ED5F01BF00000060FFFFB1BE000000607BE4F8BF000000A0FEFFB9BE00000000F57FEABE00000080FFFF9FBE000000C06033F3BF000000C0FFFF97BE00000060F05FF6BE000000A0FFFFA3BE00000000088BF4BF000000E0FEFFC0BE00000060EEBFF7BE00000080FFFFA7BE00000040AC59EFBF00000040F0BFEFBE000000E0D7E711BF00000000FFFFB5BE000000406AF1ECBF00000000FC7FD6BE00000080FDFFC8BE00000060F9FFDCBE','stop',24,24,-0.246839001624006,-1.55578172206878662109e+00,3.59344239999700221233e-01,1.87654999999722349457e-01,5.52899999999999919308e-03,'2026-11-24T18:56:22.694+00:00','student');
INSERT INTO "attempts" VALUES(1,4,1,0,'wrong_answer',0,3,5,0,0,1,'Wrong Answer
Input:
lime
9
Output:
0
Expected:
4

Wrong Answer
Input:
brown
6
Output:
36
Expected:
216','name = input()
n = int(input())
if name == "white":
    print(n - 1)
elif name == "brown":
    print(n * n)
elif name == "lime":
    print(n % 3)
elif name == "green":
    print(n + 2)
elif name == "bee":
    print(n * 3)
','faa0a9b7d784d898','```python
name = input()
n = int(input())
if name == "white":
    print(n - 1)
elif name == "brown":
    print(n * n)
elif name == "lime":
    print(n % 3)
elif name == "green":
    print(n + 2)
elif name == "bee":
    print(n * 3)
```',X'3B020000440200005901000045020000560200004602000048010000450200006A020000460200003901000045020000870200004602000055010000450200004D0200004602000042010000450200005D0200000D0000003702000002000000',X'000000C0FEFFC1BE00000080FDFFC8BE00000020ED5F01BF00000060FFFFB1BE000000C080FBECBF00000040FFFFB3BE00000080F33FECBE00000080FFFF9FBE000000604E64ECBF00000000FEFFBFBE00000040EC1FF9BE000000A0FFFFA3BE0000000039E3EDBF00000040FFFFB3BE00000080ECFFF8BE000000A0FFFFA3BE000000405EBBF3BF00000000DCFF07BF00000080D56F12BF00000000FEFFBFBE000000E00F4CF3BF000000402AA63EBF000000E0FD7FD0BE00000080FCFFD4BE','stop',24,24,-2.15289491129600690788e-01,-1.23324418067932128906e+00,3.59433120999710808973e-01,2.1119122700019943295e-01,0.00601,'2026-11-24T18:56:22.717+00:00','student');
INSERT INTO "attempts" VALUES(1,5,2,1,'wrong_answer',0,1,5,0,0,1,'Wrong Answer
Input:
lime
9
Output:
0
Expected:
4

Wrong Answer
Input:
green
6
Output:
7
Expected:
8','name = input()
n = int(input())
if name == "white":
    print(n - 1)
elif name == "brown":
    print(n * n)
elif name == "lime":
    print(n % 3)
elif name == "green":
    print(n + 1)
elif name == "bee":
    print(n * 10)
','740cd2d3b20fd811','```python
name = input()
n = int(input())
if name == "white":
    print(n - 1)
elif name == "brown":
    print(n * n)
elif name == "lime":
    print(n % 3)
elif name == "green":
    print(n + 1)
elif name == "bee":
    print(n * 10)
```',X'3B020000440200005901000045020000560200004602000048010000450200006A020000460200003901000045020000870200004602000055010000450200004B020000460200004201000045020000600200000D0000003702000002000000',X'000000C0FEFFC1BE000000C0FDFFC7BE000000E0EC7F01BF00000060FFFFB1BE00000000350DEDBF00000060FFFFB1BE000000C0F3FFEBBE00000080FFFF9FBE00000040271CEDBF00000000FEFFBFBE00000080ECFFF8BE000000A0FFFFA3BE00000080A77DEEBF00000040FFFFB3BE00000040EC1FF9BE000000A0FFFFA3BE0000002078B2EFBF00000020F47FF3BE00000020CB8F14BF00000000FEFFBFBE00000080BCB3FABF00000040FEFFC4BE000000C0FDFFC7BE000000C0F87FE5BE','stop',24,24,-2.26251053124258305615e-01,-1.66888093948364257812e+00,3.03214460999697621446e-01,7.62820569998439168557e-02,0.006227,'2026-11-24T18:56:23.362+00:00','student');
INSERT INTO "attempts" VALUES(1,6,2,1,'wrong_answer',0,0,5,0,0,0,'Wrong Answer
Input:
lime
9
Output:
0
Expected:
4

Wrong Answer
Input:
bee
4
Output:
8
Expected:
12','name = input()
n = int(input())
if name == "white":
    print(n - 2)
elif name == "brown":
    print(n * n)
elif name == "lime":
    print(n % 3)
elif name == "green":
    print(n + 5)
elif name == "bee":
    print(n * 2)
','0be9a73ced360e63','```python
name = input()
n = int(input())
if name == "white":
    print(n - 2)
elif name == "brown":
    print(n * n)
elif name == "lime":
    print(n % 3)
elif name == "green":
    print(n + 5)
elif name == "bee":
    print(n * 2)
```',X'3B020000440200005901000045020000570200004602000048010000450200006A020000460200003901000045020000870200004602000055010000450200004F0200004602000042010000450200005B0200000D0000003702000002000000',X'000000C0FEFFC1BE000000C0FDFFC7BE000000E0EC7F01BF00000060FFFFB1BE00000080A07EF3BF00000040FCFFCEBE000000A0F4FFEABE00000080FFFF9FBE00000080C9B2EBBF00000080FEFFBBBE000000C0EE7FF7BE000000A0FFFFA3BE000000004EAEEDBF00000000FFFFAFBE00000000ED9FF8BE000000A0FFFFA3BE000000406C83F7BF00000040FB7FD8BE00000040DCE710BF000000E0FEFFC0BE000000809F94EDBF000000C0FA3FE2BE00000040FCFFD5BE00000040FB7FD8BE','stop',24,24,-2.25237220386063086152e-01,-1.46958565711975097656e+00,3.0388207099986175308e-01,0.0974358610001218,0.005755,'2026-11-24T18:56:23.383+00:00','student');
INSERT INTO "attempts" VALUES(1,7,2,1,'wrong_answer',0,1,5,0,0,0,'Wrong Answer
Input:
lime
9
Output:
1
Expected:
4

Wrong Answer
Input:
white
6
Output:
1
Expected:
5','name = input()
n = int(input())
if name == "white":
    print(n - 5)
elif name == "brown":
    print(n * n)
elif name == "lime":
    print(n % 4)
elif name == "green":
    print(n + 1)
elif name == "bee":
    print(n * 3)
','101b9b2e1b8c8d8b','```python
name = input()
n = int(input())
if name == "white":
    print(n - 5)
elif name == "brown":
    print(n * n)
elif name == "lime":
    print(n % 4)
elif name == "green":
    print(n + 1)
elif name == "bee":
    print(n * 3)
```',X'3B020000440200005901000045020000590200004602000048010000450200006A020000460200003901000045020000880200004602000055010000450200004B0200004602000042010000450200005D0200000D0000003702000002000000',X'000000C0FEFFC1BE000000C0FDFFC7BE000000E0EC7F01BF00000060FFFFB1BE000000407F1103C0000000A0FEFFB9BE000000A0F4FFEABE00000080FFFF9FBE000000C082AFEABF00000080FEFFBBBE00000000ED9FF8BE000000A0FFFFA3BE00000080695CF3BF00000020FEFFC5BE00000060EEBFF7BE000000A0FFFFA3BE00000000373EEFBF00000000F57FEABE00000060CC4F14BF00000000FEFFBFBE0000008092C7F2BF000000A013BF2EBF00000060FDFFC9BE00000060F97FE4BE','stop',24,24,-2.7408514287511326346e-01,-2.38354349136352539062e+00,3.03929009999592381063e-01,1.55311002999951597303e-01,0.004996,'2026-11-24T18:56:23.441+00:00','student');
INSERT INTO "attempts" VALUES(1,8,2,1,'wrong_answer',0,1,5,0,0,1,'Wrong Answer
Input:
lime
9
Output:
1
Expected:
4

Wrong Answer
Input:
bee
4
Output:
20
Expected:
12','name = input()
n = int(input())
if name == "white":
    print(n - 1)
elif name == "brown":
    print(2 ** n)
elif name == "lime":
    print(n % 4)
elif name == "green":
    print(n * 3)
elif name == "bee":
    print(n * 5)
','c869104240cf4274','```python
name = input()
n = int(input())
if name == "white":
    print(n - 1)
elif name == "brown":
    print(2 ** n)
elif name == "lime":
    print(n % 4)
elif name == "green":
    print(n * 3)
elif name == "bee":
    print(n * 5)
```',X'3B0200004402000059010000450200005602000046020000480100004502000073020000460200003901000045020000880200004602000055010000450200005D020000460200004201000045020000650200000D0000003702000002000000',X'000000C0FEFFC1BE000000C0FDFFC7BE000000E0EC7F01BF00000060FFFFB1BE00000000350DEDBF00000060FFFFB1BE000000C0F3FFEBBE00000080FFFF9FBE000000A0C916FABF000000806F0B28BF00000080ECFFF8BE000000A0FFFFA3BE000000001AF7F3BF00000000FD7FD3BE00000060EEBFF7BE00000080FFFFA7BE00000060592C24C000000080A6EB22BF00000020CFC713BF000000A0FEFFB9BE00000000249102C00000000087FF25BF00000000FDFFCBBE000000E0FBFFD6BE','stop',24,24,-6.74767924443711364368e-01,-1.00866193771362304691e+01,3.03960907999680784996e-01,1.72136047999629226978e-01,5.76800000000000055722e-03,'2026-11-24T18:56:23.458+00:00','student');
INSERT INTO "attempts" VALUES(2,2,1,0,'wrong_answer',0,2,5,0,0,1,'Wrong Answer
Input:
lime
9
Output:
0
Expected:
4

Wrong Answer
Input:
bee
4
Output:
8
Expected:
12','name = input()
n = int(input())
if name == "white":
    print(n - 1)
elif name == "brown":
    print(n * n + 1)
elif name == "lime":
    print(n % 3)
elif name == "green":
    print(n + 2)
elif name == "bee":
    print(n * 2)
','637021b992e5f0f1','```python
name = input()
n = int(input())
if name == "white":
    print(n - 1)
elif name == "brown":
    print(n * n + 1)
elif name == "lime":
    print(n % 3)
elif name == "green":
    print(n + 2)
elif name == "bee":
    print(n * 2)
```',X'3B0200004402000059010000450200005602000046020000480100004502000076020000460200003901000045020000870200004602000055010000450200004D0200004602000042010000450200005B0200000D0000003702000002000000',X'000000C0FEFFC1BE00000080FDFFC8BE00000020ED5F01BF00000060FFFFB1BE000000C080FBECBF00000040FFFFB3BE00000080F33FECBE00000080FFFF9FBE000000200DC503C000000080FFFFA7BE000000C0E83FFBBE000000A0FFFFA3BE000000E0B798EDBF00000000FFFFAFBE00000080ECFFF8BE000000A0FFFFA3BE000000E08F0FF4BF00000060DE2F07BF00000060CD1F14BF000000E0FEFFB7BE00000080DD9EEDBF000000C0F87FE5BE00000040FCFFCEBE00000020FDFFD2BE','stop',24,24,-2.70062498528801597785e-01,-2.47121644020080566406e+00,1.20241393899959803093e+00,1.16459896999913325998e-01,0.006049,'2026-11-24T18:58:30.178+00:00','student');
INSERT INTO "attempts" VALUES(2,1,1,0,'wrong_answer',0,0,5,0,0,0,'Wrong Answer
Input:
lime
9
Output:
0
Expected:
4

Wrong Answer
Input:
bee
4
Output:
8
Expected:
12','name = input()
n = int(input())
if name == "white":
    print(n - 2)
elif name == "brown":
    print(2 ** n)
elif name == "lime":
    print(n % 3)
elif name == "green":
    print(n + 1)
elif name == "bee":
    print(n * 2)
','ba83484b34dfde15','```python
name = input()
n = int(input())
if name == "white":
    print(n - 2)
elif name == "brown":
    print(2 ** n)
elif name == "lime":
    print(n % 3)
elif name == "green":
    print(n + 1)
elif name == "bee":
    print(n * 2)
```',X'3B0200004402000059010000450200005702000046020000480100004502000073020000460200003901000045020000870200004602000055010000450200004B0200004602000042010000450200005B0200000D0000003702000002000000',X'000000C0FEFFC1BE00000080FDFFC8BE00000020ED5F01BF00000060FFFFB1BE00000060C4C2F3BF00000000FCFFCFBE000000A0F4FFEABE00000080FFFF9FBE000000403F61FABF00000000BAA717BF000000A0ED3FF8BE000000A0FFFFA3BE00000000F0CEECBF00000000FFFFAFBE000000A0ED3FF8BE000000A0FFFFA3BE000000C05DADEFBF00000040F57FF2BE000000A0DB0F11BF00000040FEFFBDBE000000A05ACDECBF00000080FBFFE0BE00000080FEFFC3BE00000080F8FFDEBE','stop',24,24,-2.36430478276252159508e-01,-1.64874196052551269531e+00,1.20053808699958608485e+00,2.19103395999809436034e-01,0.00605,'2026-11-24T18:58:30.279+00:00','student');
INSERT INTO "attempts" VALUES(2,3,1,0,'wrong_answer',0,1,5,0,0,0,'Wrong Answer
Input:
lime
9
Output:
1
Expected:
4

Wrong Answer
Input:
white
6
Output:
4
Expected:
5','name = input()
n = int(input())
if name == "white":
    print(n - 2)
elif name == "brown":
    print(n * n + 1)
elif name == "lime":
    print(n % 4)
elif name == "green":
    print(n + 2)
elif name == "bee":
    print(n * 5)
','863b7f15c045e1bb','```python
name = input()
n = int(input())
if name == "white":
    print(n - 2)
elif name == "brown":
    print(n * n + 1)
elif name == "lime":
    print(n % 4)
elif name == "green":
    print(n + 2)
elif name == "bee":
    print(n * 5)
```',X'3B0200004402000059010000450200005702000046020000480100004502000076020000460200003901000045020000880200004602000055010000450200004D020000460200004201000045020000650200000D0000003702000002000000',X'000000C0FEFFC1BE00000080FDFFC8BE00000020ED5F01BF00000060FFFFB1BE00000060C4C2F3BF00000000FCFFCFBE000000A0F4FFEABE00000080FFFF9FBE000000202F9403C0000000A0FFFFA3BE000000E0EB5FF9BE000000A0FFFFA3BE00000000CE08F4BF00000080FEFFC3BE00000060EEBFF7BE000000A0FFFFA3BE00000020BD18F5BF000000A0EA7F02BF00000060DCDF10BF00000080FEFFBBBE000000A0B4FA01C0000000C07BFF26BF00000080FDFFD1BE000000A0FB7FD7BE','stop',24,24,-3.54204350898430220251e-01,-2.44735550880432128906e+00,1.20248611699935281649e+00,2.9969979300039994996e-01,0.006764,'2026-11-24T18:58:30.361+00:00','student');
INSERT INTO "attempts" VALUES(3,1,1,0,'wrong_answer',0,3,5,0,0,0,'Wrong Answer
Input:
white
6
Output:
4
Expected:
5

Wrong Answer
Input:
bee
4
Output:
20
Expected:
12','name = input()
n = int(input())
if name == "white":
    print(n - 2)
elif name == "brown":
    print(n ** 3)
elif name == "lime":
    print(n % 5)
elif name == "green":
    print(n + 2)
elif name == "bee":
    print(n * 5)
','e3bf488cf92de0d6','```python
name = input()
n = int(input())
if name == "white":
    print(n - 2)
elif name == "brown":
    print(n ** 3)
elif name == "lime":
    print(n % 5)
elif name == "green":
    print(n + 2)
elif name == "bee":
    print(n * 5)
```',X'3B020000440200005901000045020000570200004602000048010000450200006E020000460200003901000045020000890200004602000055010000450200004D020000460200004201000045020000650200000D0000003702000002000000',X'000000C0FEFFC1BE00000080FDFFC8BE00000020ED5F01BF00000060FFFFB1BE000000C0C2C2F3BF00000000FCFFCFBE000000A0F4FFEABE00000080FFFF9FBE00000040CED1F3BF000000C0FFFF97BE00000040F1BFF5BE000000A0FFFFA3BE000000C0218AF7BF000000A0FFFFA3BE00000000ED9FF8BE000000A0FFFFA3BE000000204A7DF4BF000000E0EF0F00BF00000040D70F12BF00000040FEFFBDBE0000004032AE01C0000000C0BAA320BF00000000FD7FD3BE00000020FBFFD8BE','stop',24,24,-3.09832562499911035036e-01,-2.21005678176879882812e+00,5.31521062999672722071e-01,1.1345412799983023433e-01,0.005902,'2026-11-24T19:00:13.315+00:00','student');
INSERT INTO "attempts" VALUES(3,2,2,0,'wrong_answer',0,3,5,0,0,2,'Wrong Answer
Input:
lime
9
Output:
1
Expected:
4

Wrong Answer
Input:
green
6
Output:
16
Expected:
8','name = input()
n = int(input())
if name == "white":
    print(n - 1)
elif name == "brown":
    print(n ** 3)
elif name == "lime":
    print(n % 4)
elif name == "green":
    print(n + 10)
elif name == "bee":
    print(n * 3)
','fbda84067e3c0742','```python
name = input()
n = int(input())
if name == "white":
    print(n - 1)
elif name == "brown":
    print(n ** 3)
elif name == "lime":
    print(n % 4)
elif name == "green":
    print(n + 10)
elif name == "bee":
    print(n * 3)
```',X'3B020000440200005901000045020000560200004602000048010000450200006E02000046020000390100004502000088020000460200005501000045020000520200004602000042010000450200005D0200000D0000003702000002000000',X'00000000FEFFBFBE00000060FFFFB1BE000000C0ED0F01BF000000A0FFFFA3BE00000080D4CF91BF00000080FFFFA7BE00000040F1BFEEBE000000A0FFFFA3BE000000C0EA84F3BF00000080FFFF9FBE00000060F19FF5BE00000080FFFFA7BE000000805B56F3BF000000C0FFFF97BE000000E0EE5FF7BE00000000FFFFAFBE00000000D62502C000000080FEFFBBBE00000080E4FF04BF000000E0FEFFB7BE000000A06F83B4BF000000E05C0F32BF000000A0FEFFC2BE000000C0FDFFD0BE','stop',42,24,-1.99789827268865849418e-01,-2.268474578857421875e+00,4.10897980999834544491e-01,9.38472789994193590246e-02,0.006562,'2026-11-24T19:00:13.821+00:00','student');
INSERT INTO "attempts" VALUES(3,3,3,0,'wrong_answer',0,4,5,0,0,1,'Wrong Answer
Input:
brown
6
Output:
36
Expected:
216','name = input()
n = int(input())
if name == "white":
    print(n - 1)
elif name == "brown":
    print(n * n)
elif name == "lime":
    print(n % 5)
elif name == "green":
    print(n + 2)
elif name == "bee":
    print(n * 3)
','9cd593f1c813f29b','```python
name = input()
n = int(input())
if name == "white":
    print(n - 1)
elif name == "brown":
    print(n * n)
elif name == "lime":
    print(n % 5)
elif name == "green":
    print(n + 2)
elif name == "bee":
    print(n * 3)
```',X'3B020000440200005901000045020000560200004602000048010000450200006A020000460200003901000045020000890200004602000055010000450200004D0200004602000042010000450200005D0200000D0000003702000002000000',X'00000080FEFFBBBE00000040FEFFBDBE00000000EEFFF7BE00000040FFFFB3BE000000C044FF80BF000000A0FFFFA3BE00000060F67FF1BE000000A0FFFFA3BE00000060FB9EEBBF00000080FFFF9FBE000000E0F61FF1BE000000A0FFFFA3BE00000000DCF872BF000000C0FFFF97BE00000020F07FF6BE00000000FFFFAFBE00000020FAE49ABF00000040FFFFB3BE000000A0E58F04BF00000000FFFFAFBE00000080CC1DB4BF00000040E53FFDBE000000E0FCFFD3BE000000E0FD7FD0BE','stop',58,24,-4.08789822020215395936e-02,-8.63156974315643310546e-01,3.26457703999949444551e-01,5.79731830002856440842e-02,0.005098,'2026-11-24T19:00:14.207+00:00','student');
CREATE TABLE "runs" (
   "run" INTEGER PRIMARY KEY,
   "question" TEXT NOT NULL,
   "method" TEXT NOT NULL,
   "seed" INTEGER NOT NULL,
   "status" TEXT NOT NULL,
   "model" TEXT,
   "config" TEXT NOT NULL,
   "split" TEXT,
   "environment" TEXT,
   "discovery_attempt" INTEGER,
   "program" TEXT,
   "created" TEXT NOT NULL,
   "updated" TEXT
);
INSERT INTO "runs" VALUES(1,'micro:numbers:5:7','sdpo',0,'exhausted','micro','{"budget": {"attempts": 8, "continue_after_discovery": false, "restart_after_collapse": true}, "distillation": {"alpha": 1.0, "chunk_tokens": 256, "distillation_add_tail": true, "distillation_topk": 20, "full_logit_distillation": true, "gradient_checkpointing": false, "grpo_weight": 0.0, "is_clip": 2.0, "kl_to_base": 0.0, "log_ratio_clip": 5.0, "loss_agg_mode": "token-mean", "rollout_is": "token", "rollout_is_threshold": 2.0, "token_budget": 16384}, "judge": {"cpu_seconds": 2.0, "memory_mib": 256, "output_mib": 16, "python": null, "slots": null, "split": "auto", "split_seed": 0, "unsafe_no_sandbox": false, "wall_seconds": 8.0}, "lora": {"alpha": 16.0, "grad_clip": 1.0, "lr": 0.003, "rank": 16, "target_modules": "all-linear", "weight_decay": 0.0}, "model": {"device": "cpu", "dtype": "float32", "enable_thinking": false, "gpu_memory_utilization": 0.45, "kv_cache_gib": 1.0, "max_model_len": 8192, "path": "micro", "quantize_base": "none", "sampler": "transformers", "system_prompt": null, "tensor_parallel_size": 1}, "reprompt": {"demonstrations_from": "run", "dont_reprompt_on_self_success": false, "environment_feedback_only_without_solution": true, "feedback_blocks": 6, "feedback_from": "run", "feedback_template": "\n\nThe following is feedback from your unsuccessful earlier attempt:\n\n{feedback_raw}", "include_environment_feedback": true, "max_reprompt_len": 7936, "multi_turn_history": "feedback", "multi_turn_max_prompt_len": 32000, "multi_turn_window": null, "remove_thinking_from_demonstration": true, "reprompt_template": "{prompt}{solution}{feedback}\n\nCorrectly solve the original question.", "reprompt_truncation": "right", "solution_template": "\n\nCorrect solution:\n\n{successful_previous_attempt}", "success_reward_threshold": 1.0}, "sampling": {"group_size": 4, "max_prompt_len": 4096, "max_tokens": 192, "pipeline": "on-policy", "teacher_fraction": 0.0, "temperature": 1.0, "top_p": 1.0}, "store": {"path": "old.sqlite", "state_dir": null, "track": "none"}, "teacher": {"teacher_regularization": "ema", "teacher_update_rate": 0.25}}','{"hidden": [], "visible": [0, 1, 2, 3, 4]}','{"device": "cpu", "dtype": "float32", "sampler": "transformers", "sandbox": "landlock 7+seccomp", "solution_python": "3.11.7", "torch": "2.13.0+cpu", "transformers": "5.19.0"}',NULL,NULL,'2026-11-24T18:56:22.090+00:00','2026-11-24T18:56:23.833+00:00');
INSERT INTO "runs" VALUES(2,'micro:numbers:5:7','best-of-k',1,'running','micro','{"budget": {"attempts": 8, "continue_after_discovery": false, "restart_after_collapse": true}, "distillation": {"alpha": 1.0, "chunk_tokens": 256, "distillation_add_tail": true, "distillation_topk": 20, "full_logit_distillation": true, "gradient_checkpointing": false, "grpo_weight": 0.0, "is_clip": 2.0, "kl_to_base": 0.0, "log_ratio_clip": 5.0, "loss_agg_mode": "token-mean", "rollout_is": "token", "rollout_is_threshold": 2.0, "token_budget": 16384}, "judge": {"cpu_seconds": 2.0, "memory_mib": 256, "output_mib": 16, "python": null, "slots": null, "split": "auto", "split_seed": 0, "unsafe_no_sandbox": false, "wall_seconds": 8.0}, "lora": {"alpha": 16.0, "grad_clip": 1.0, "lr": 0.003, "rank": 16, "target_modules": "all-linear", "weight_decay": 0.0}, "model": {"device": "cpu", "dtype": "float32", "enable_thinking": false, "gpu_memory_utilization": 0.45, "kv_cache_gib": 1.0, "max_model_len": 8192, "path": "micro", "quantize_base": "none", "sampler": "transformers", "system_prompt": null, "tensor_parallel_size": 1}, "reprompt": {"demonstrations_from": "run", "dont_reprompt_on_self_success": false, "environment_feedback_only_without_solution": true, "feedback_blocks": 6, "feedback_from": "run", "feedback_template": "\n\nThe following is feedback from your unsuccessful earlier attempt:\n\n{feedback_raw}", "include_environment_feedback": true, "max_reprompt_len": 7936, "multi_turn_history": "feedback", "multi_turn_max_prompt_len": 32000, "multi_turn_window": null, "remove_thinking_from_demonstration": true, "reprompt_template": "{prompt}{solution}{feedback}\n\nCorrectly solve the original question.", "reprompt_truncation": "right", "solution_template": "\n\nCorrect solution:\n\n{successful_previous_attempt}", "success_reward_threshold": 1.0}, "sampling": {"group_size": 4, "max_prompt_len": 4096, "max_tokens": 192, "pipeline": "on-policy", "teacher_fraction": 0.0, "temperature": 1.0, "top_p": 1.0}, "store": {"path": "old.sqlite", "state_dir": null, "track": "none"}, "teacher": {"teacher_regularization": "ema", "teacher_update_rate": 0.25}}','{"hidden": [], "visible": [0, 1, 2, 3, 4]}','{"device": "cpu", "dtype": "float32", "sampler": "transformers", "sandbox": "landlock 7+seccomp", "solution_python": "3.11.7", "torch": "2.13.0+cpu", "transformers": "5.19.0"}',NULL,NULL,'2026-11-24T18:58:28.842+00:00','2026-11-24T18:58:28.842+00:00');
INSERT INTO "runs" VALUES(3,'micro:numbers:5:7','multi-turn',1,'running','micro','{"budget": {"attempts": 8, "continue_after_discovery": false, "restart_after_collapse": true}, "distillation": {"alpha": 1.0, "chunk_tokens": 256, "distillation_add_tail": true, "distillation_topk": 20, "full_logit_distillation": true, "gradient_checkpointing": false, "grpo_weight": 0.0, "is_clip": 2.0, "kl_to_base": 0.0, "log_ratio_clip": 5.0, "loss_agg_mode": "token-mean", "rollout_is": "token", "rollout_is_threshold": 2.0, "token_budget": 16384}, "judge": {"cpu_seconds": 2.0, "memory_mib": 256, "output_mib": 16, "python": null, "slots": null, "split": "auto", "split_seed": 0, "unsafe_no_sandbox": false, "wall_seconds": 8.0}, "lora": {"alpha": 16.0, "grad_clip": 1.0, "lr": 0.003, "rank": 16, "target_modules": "all-linear", "weight_decay": 0.0}, "model": {"device": "cpu", "dtype": "float32", "enable_thinking": false, "gpu_memory_utilization": 0.45, "kv_cache_gib": 1.0, "max_model_len": 8192, "path": "micro", "quantize_base": "none", "sampler": "transformers", "system_prompt": null, "tensor_parallel_size": 1}, "reprompt": {"demonstrations_from": "run", "dont_reprompt_on_self_success": false, "environment_feedback_only_without_solution": true, "feedback_blocks": 6, "feedback_from": "run", "feedback_template": "\n\nThe following is feedback from your unsuccessful earlier attempt:\n\n{feedback_raw}", "include_environment_feedback": true, "max_reprompt_len": 7936, "multi_turn_history": "feedback", "multi_turn_max_prompt_len": 32000, "multi_turn_window": null, "remove_thinking_from_demonstration": true, "reprompt_template": "{prompt}{solution}{feedback}\n\nCorrectly solve the original question.", "reprompt_truncation": "right", "solution_template": "\n\nCorrect solution:\n\n{successful_previous_attempt}", "success_reward_threshold": 1.0}, "sampling": {"group_size": 4, "max_prompt_len": 4096, "max_tokens": 192, "pipeline": "on-policy", "teacher_fraction": 0.0, "temperature": 1.0, "top_p": 1.0}, "store": {"path": "old.sqlite", "state_dir": null, "track": "none"}, "teacher": {"teacher_regularization": "ema", "teacher_update_rate": 0.25}}','{"hidden": [], "visible": [0, 1, 2, 3, 4]}','{"device": "cpu", "dtype": "float32", "sampler": "transformers", "sandbox": "landlock 7+seccomp", "solution_python": "3.11.7", "torch": "2.13.0+cpu", "transformers": "5.19.0"}',NULL,NULL,'2026-11-24T19:00:12.639+00:00','2026-11-24T19:00:12.639+00:00');
CREATE TABLE "steps" (
   "run" INTEGER REFERENCES "runs"("run"),
   "step" INTEGER,
   "first_attempt" INTEGER,
   "attempts" INTEGER,
   "adapter_version" INTEGER,
   "loss" REAL,
   "metrics" TEXT,
   "seconds" TEXT,
   "state" TEXT,
   "created" TEXT,
   PRIMARY KEY ("run", "step")
);
INSERT INTO "steps" VALUES(1,1,1,4,1,3.84087413549423217773e-01,'{"completion_tokens": 24.0, "entropy": 0.2701974837359438, "feedback_available_fraction": 1.0, "feedback_used_fraction": 1.0, "grad_finite": 1.0, "grad_norm": 0.03517511114478111, "kl/base": 0.0, "kl/teacher": 0.38408760931589864, "logprob_gap/max": 1.8454360946051906e-06, "logprob_gap/mean": 1.966918137088065e-07, "loss": 0.3840874135494232, "reprompt_sample_fraction": 1.0, "seconds/step": 0.24640644600003725, "seconds/swap": 0.011579033000089112, "success_group_fraction": 0.0, "success_sample_fraction": 0.0, "teacher_advantage": -0.4954733994611726, "tis_clip_fraction": 0.0, "tokens": 96.0, "tokens/student": 92.0, "tokens/teacher": 218.0, "truncated_fraction": 0.0, "unique_program_fraction": 1.0, "updated": 1.0}','{"distil": 0.2580115679993469, "draw": 0.5712763250003263, "judge": 0.21183354000004329, "sample": 0.3594977370003107, "swap": 0.011567716000172368, "train": 0.29037948499990307, "wait_judge": 0.20132668599853787, "wait_train": 1.2018000234093051e-05}','step-1','2026-11-24T18:56:22.981+00:00');
INSERT INTO "steps" VALUES(1,2,5,4,2,5.82098603248596191406e-01,'{"completion_tokens": 24.0, "entropy": 0.2705235863059371, "feedback_available_fraction": 1.0, "feedback_used_fraction": 1.0, "grad_finite": 1.0, "grad_norm": 0.04927486553788185, "kl/base": 2.8181682739429076e-05, "kl/teacher": 0.5820986153288111, "logprob_gap/max": 1.8712359390882227e-06, "logprob_gap/mean": 1.915709242334613e-07, "loss": 0.5820986032485962, "reprompt_sample_fraction": 1.0, "seconds/step": 0.33529309799996554, "seconds/swap": 0.014208282999788935, "success_group_fraction": 0.0, "success_sample_fraction": 0.0, "teacher_advantage": -0.8395060063029991, "tis_clip_fraction": 0.0, "tokens": 96.0, "tokens/student": 104.0, "tokens/teacher": 352.0, "truncated_fraction": 0.0, "unique_program_fraction": 1.0, "updated": 1.0}','{"distil": 0.34952649800015934, "draw": 0.47670085200024914, "judge": 0.17264270899977419, "sample": 0.30402455300009024, "swap": 0.013951762999568018, "train": 0.3389292320007371, "wait_judge": 0.16971498200018686, "wait_train": 1.060599970514886e-05}','step-2','2026-11-24T18:56:23.821+00:00');
INSERT INTO "steps" VALUES(3,1,1,1,0,NULL,'{}','{"distil": 0.0, "draw": 0.6747009690006962, "judge": 0.11318121399926895, "sample": 0.5315901160001886, "wait_judge": 6.450000000768341e-06}',NULL,'2026-11-24T19:00:13.315+00:00');
INSERT INTO "steps" VALUES(3,2,2,1,0,NULL,'{}','{"distil": 0.0, "draw": 0.5059410140002001, "judge": 0.09357087900025363, "sample": 0.41095511600087775, "wait_judge": 5.858999429619871e-06}',NULL,'2026-11-24T19:00:13.822+00:00');
INSERT INTO "steps" VALUES(3,3,3,1,0,NULL,'{}','{"distil": 0.0, "draw": 0.3855053199995382, "judge": 0.05771287700008543, "sample": 0.3265151200002947, "wait_judge": 7.160999302868731e-06}',NULL,'2026-11-24T19:00:14.208+00:00');
CREATE UNIQUE INDEX "idx__sqlite_migrations_migration_set_name"
    ON "_sqlite_migrations" ("migration_set", "name");
CREATE INDEX "idx_attempts_run_step"
    ON "attempts" ("run", "step");
CREATE INDEX attempts_numbers on attempts (run, attempt, step, verdict, discovered, visible_passed, visible_total, finish_reason, prompt_tokens, completion_tokens, sample_seconds, judge_seconds, cpu_seconds, program_hash);
CREATE VIEW "run_summary" AS select r.run, r.question, r.method, r.seed, r.status, r.discovery_attempt, count(a.attempt) as attempts,
        sum(a.discovered = 0 and a.visible_total > 0 and a.visible_passed = a.visible_total) as visible_only,
        max(a.visible_passed * 1.0 / nullif(a.visible_total, 0)) as best_visible_fraction,
        sum(a.prompt_tokens) as prompt_tokens, sum(a.completion_tokens) as completion_tokens
        from runs r left join attempts a on a.run = r.run group by r.run;
CREATE VIEW "question_summary" AS select question, method, count(*) as runs, sum(discovery_attempt is not null) as discovered,
        min(discovery_attempt) as first_discovery, sum(attempts) as attempts, sum(visible_only) as visible_only
        from run_summary group by question, method;
COMMIT;